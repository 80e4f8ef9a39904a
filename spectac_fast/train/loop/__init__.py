"""The loop and what it keeps: budget, schedule, state on disk, diary, several processes. Imports no method. What
every training should do is changed here, once.
"""
