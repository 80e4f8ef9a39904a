"""The dcmtk programs; pynetdicom brings scripts of the same names, which are no second implementation to test with."""

import os
import shutil
import sys
from pathlib import Path

_FOLDERS = [folder for folder in os.get_exec_path() if Path(sys.prefix) not in Path(folder).parents]


def dcmtk(name):
    """Where the program is; None without dcmtk."""
    return shutil.which(name, path=os.pathsep.join(_FOLDERS))
