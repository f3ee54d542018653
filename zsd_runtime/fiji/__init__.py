"""The plugin for Fiji and ImageJ: `zsd_.jar`, which `make fiji` builds, and its way into an ImageJ."""

from zsd_runtime.fiji.install import Installed, install

__all__ = ["Installed", "install"]
