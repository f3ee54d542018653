"""zsd_optics: the physics of the microscope, without torch: ``pip install "zsd[optics]"``."""
