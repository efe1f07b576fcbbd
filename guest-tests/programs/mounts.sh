#!/bin/sh
# The Test Anything Protocol: a line for each thing that is tried, and a plan.
echo 1..3
place=$(mktemp -d)
mount -t tmpfs none "$place" && echo ok 1 - a tmpfs is mounted || echo not ok 1
echo text > "$place/file" && [ "$(cat "$place/file")" = text ] && echo ok 2 - it keeps a file || echo not ok 2
umount "$place" && [ ! -e "$place/file" ] && echo ok 3 - it takes it along || echo not ok 3
rmdir "$place"
