"""Time: operators, whole models, whole runs, each against rivals doing the same in the same process."""
