"""Jobs whose endpoint, process, disk or patience fails: nothing is lost, and nothing is paid for twice."""
