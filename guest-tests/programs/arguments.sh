#!/bin/sh
# Is called with what a list of cases says.
[ $# = 2 ] && [ "$1" = one ] && [ "$2" = 'two words' ]
