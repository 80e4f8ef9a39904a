"""An in-silico trial: are defects found in corrected images as well as in CT-corrected ones, on many cameras?"""
