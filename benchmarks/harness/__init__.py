"""What every benchmark here shares: the machine and its limits, peers, timing, checks, reports and charts."""
