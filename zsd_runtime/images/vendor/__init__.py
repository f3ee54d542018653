"""Files of microscope vendors, read by libraries that others keep.

============ ============== ============ =========================================
format       library        licence      pixels
============ ============== ============ =========================================
CZI (Zeiss)  pylibCZIrw     LGPL-3.0     read where they are sliced
ND2 (Nikon)  nd2            BSD-3-Clause read where they are sliced
LIF (Leica)  liffile        BSD-3-Clause memory-mapped
MRC and DV   mrcfile        BSD-3-Clause memory-mapped
IMS (Imaris) h5py           BSD-3-Clause read where they are sliced
============ ============== ============ =========================================

Each library is imported when the first file of its kind is opened. The extra `vendor` installs them.
"""

from zsd_runtime.images.vendor.czi import CZI
from zsd_runtime.images.vendor.ims import IMS
from zsd_runtime.images.vendor.lif import LIF
from zsd_runtime.images.vendor.mrc import MRC
from zsd_runtime.images.vendor.nd2 import ND2

VENDOR = (CZI, IMS, LIF, MRC, ND2)
