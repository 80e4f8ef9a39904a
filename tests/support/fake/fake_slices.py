"""A multi-frame file as older systems write it: every slice in a file of its own."""

import numpy as np
import pydicom

# Of a whole stack only.
_WHOLE = ("SliceVector", "NumberOfSlices", "FrameIncrementPointer", "SpacingBetweenSlices")
_EXTREMES = ("SmallestImagePixelValue", "LargestImagePixelValue")


def split(path, folder, order=None, change=None):
    """Write the slices of the file at `path` to files of their own in `folder`.

    order: of the files' names. change: applied to each, as change(ds, frame, slice number).
    """
    whole = pydicom.dcmread(path)
    frames = whole.pixel_array
    home = whole.DetectorInformationSequence[0]
    row, column = np.array(home.ImageOrientationPatient[:3]), np.array(home.ImageOrientationPatient[3:])
    normal = np.cross(row, column)
    folder.mkdir(parents=True)
    for name, k in enumerate(order or range(len(frames))):
        ds = pydicom.dcmread(path)
        position = np.array(home.ImagePositionPatient) + k * float(whole.SpacingBetweenSlices) * normal
        ds.DetectorInformationSequence[0].ImagePositionPatient = [f"{value:.5f}" for value in position]
        ds.NumberOfFrames, ds.InstanceNumber = 1, name + 1
        ds.PixelData = frames[k].tobytes()
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{whole.SOPInstanceUID}.{k + 1}"
        for keyword in (*_WHOLE, *_EXTREMES):
            if keyword in ds:
                del ds[keyword]
        if change:
            change(ds, frames[k], k)
        ds.save_as(folder / f"IM{name:04}")
