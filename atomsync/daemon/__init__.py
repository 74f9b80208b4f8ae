"""Several pairs as one service, seen and steered from outside.

pair      SRC, DST and the options of one pair, as a value
keeper    one pair kept going in a thread of its own, whatever happens to it
service   all of them: signals, reload, readiness, the end
places    where the control sockets are
endpoint  the control socket of a destination: one watch each, one question a connection
client    asking it
notify    what systemd wants to hear
metrics   what Prometheus wants to read
"""
