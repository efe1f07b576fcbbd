#!/no/such/interpreter
# Fails on purpose: nothing here can run it.
