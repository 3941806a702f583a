#!/bin/sh
# Answers for acme:auth/verifier on this machine. Who knows the secret is ada; the secret itself stays in
# this program's environment, and no node ever has it.
#
#   SECRET=… rpc-host provide acme:auth/verifier --exec modules/app/local/verifier.sh
while read -r call; do # {"id":1,"function":"verify","args":["TOKEN"]}
    id=${call#*'"id":'}
    token=${call#*'"args":["'}
    if [ "${token%'"]}'}" = "${SECRET:?}" ]; then
        echo "{\"id\": ${id%%,*}, \"ok\": \"ada\"}"
    else
        echo "{\"id\": ${id%%,*}, \"err\": \"not known here\"}"
    fi
done
