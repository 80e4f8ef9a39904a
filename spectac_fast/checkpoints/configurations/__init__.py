"""What published runners keep beside a checkpoint: the options that no tensor tells, read and never run.

`reading.py` turns a file into plain mappings, `section.py` sees to it that no option of a network is passed over, and
there is one file for each published project. Each offers

    configured(published: Mapping, config: Mapping, source: str) -> dict[str, Any]
        What a configuration says, as {dotted name in our configuration: value}. config: what the checkpoint's layout
        made of its tensors. InputError of one sentence, beginning with `source` and naming the option, for an option
        that this package has no counterpart of.
"""
