#!/bin/sh
# Runs a command, and again where its status says that another start may fare better: 75, or a
# signal. Where nobody else does so, as on SageMaker, which gives up after the first failure.
#
#     until_done.sh 20 python run_job.py --job 7b0e…      at most 20 times again
#
# SIGTERM is passed on, and nothing is started after it.
again=$1
shift
asked=
trap 'asked=yes; kill -TERM "$running" 2>/dev/null' TERM
while :; do
    "$@" &
    running=$!
    wait "$running"
    status=$?
    if [ -n "$asked" ]; then
        wait "$running" # which the signal has cut short
        exit
    fi
    if [ "$status" -ne 75 ] && [ "$status" -le 128 ]; then
        exit "$status"
    fi
    if [ "$again" -le 0 ]; then
        exit "$status"
    fi
    again=$((again - 1))
    sleep "${UNTIL_DONE_PAUSE:-30}" &
    running=$!
    wait "$running"
    if [ -n "$asked" ]; then
        exit "$status"
    fi
done
