"""What a file is, judged from evidence: whether attenuation was corrected, whether it shows emission, phase and plane.

Codes (`header`), words of many languages (`words`, `places`, `phase`) and the image itself (`figures`, `image`) are
heard; `judge` weighs them and gives its reasons. Nothing is guessed in silence. These are functions of data sets, texts
and arrays; readers of files call them.
"""
