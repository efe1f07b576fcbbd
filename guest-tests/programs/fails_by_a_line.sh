#!/bin/sh
# Fails on purpose: the exit code alone would call it green.
printf '1..2\nok 1\nnot ok 2 - what is tried\n'
