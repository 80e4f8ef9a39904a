"""What is said of a study beside its images: a picture (`capture`), measurements (`structured`); both lie in the study
of the images that they tell of (`home`).
"""
