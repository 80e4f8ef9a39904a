"""What a stored value stands for, in one place: pixel bytes become numbers (`pixels`) once it is known which bits of a
word they are (`words`) and which are padding (`padding`), numbers become counts (`mapping`, `units`), for every way in
(`counts`), and counts stored values again (`store`), for the one way out.
"""
