"""Files in, files out: `read` turns files into partitions, `write` makes whole shards, `manifest` keeps the books."""
