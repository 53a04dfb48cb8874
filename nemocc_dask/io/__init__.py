"""Files in, files out: `files` finds what there is to read, `parts` cuts it into partitions, `read` reads one, with
`parquet` and `jsonl` for what differs between formats and `streams` for what is kept open between partitions; `scan`
looks through them before anything is sent, `shards` and `write` make whole files, `manifest` keeps the books,
`accounts` adds them up, `differences` tells two jobs apart.
"""
