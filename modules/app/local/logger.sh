#!/bin/sh
# Answers for acme:log/logger on this machine: shows each line here, on stderr.
#
#   rpc-host provide acme:log/logger --exec modules/app/local/logger.sh
while read -r call; do # {"id":1,"function":"log","args":["info","ada asks: whoami"]}
    id=${call#*'"id":'}
    echo "here: ${call#*'"args":'}" >&2
    echo "{\"id\": ${id%%,*}, \"ok\": null}"
done
