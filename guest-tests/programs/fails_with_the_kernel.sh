#!/bin/sh
# Takes the kernel along, on purpose.
echo 1..1
echo c > /proc/sysrq-trigger
