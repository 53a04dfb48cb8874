"""Files in, files out: `read` turns files into partitions, `scan` looks through them before anything is sent, `shards`
and `write` make whole files, `manifest` keeps the books, `accounts` adds them up, `differences` tells two jobs apart.
"""
