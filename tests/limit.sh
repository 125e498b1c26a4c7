#!/bin/bash
# Runs a program of tests, as cargo's runner, for at most TEST_LIMIT seconds.
# When they are over, or it is interrupted, all that the program started ends.

# With job control what is started here is a group of its own.
set -m
timeout --kill-after=20 "${TEST_LIMIT:?}" "$@" &
trap 'kill -TERM -- -$!' INT TERM HUP
wait $!
status=$?
# Above 128 it may have been a trap that ended the wait, and not the program.
[ $status -le 128 ] || { wait $!; status=$?; }
if [ $status != 0 ] && [ $SECONDS -ge "$TEST_LIMIT" ]; then
	echo "tests: $(basename "$1") had not ended after $TEST_LIMIT s (TEST_LIMIT) and was ended;" \
		"of the tests above, one without a result hangs" >&2
fi
exit $status
