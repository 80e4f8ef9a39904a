"""Other implementations of DICOM: dcmtk (pynetdicom brings scripts of the same names, which are none) and dciodvfy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_FOLDERS = [folder for folder in os.get_exec_path() if Path(sys.prefix) not in Path(folder).parents]


def dcmtk(name):
    """Where the program is; None without dcmtk."""
    return shutil.which(name, path=os.pathsep.join(_FOLDERS))


def complaints(path):
    """The error lines of dciodvfy (Debian: dicom3tools)."""
    result = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    return {line for line in (result.stdout + result.stderr).splitlines() if line.startswith("Error")}
