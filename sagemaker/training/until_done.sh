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
    if [ -n "$asked" ]; then
        kill -TERM "$running" # the signal came before we knew whom to pass it on to
    fi
    wait "$running"
    status=$?
    if [ -n "$asked" ]; then
        while kill -0 "$running" 2>/dev/null; do # the signal may have cut the wait short
            wait "$running"
            status=$?
        done
        exit "$status"
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
