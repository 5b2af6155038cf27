#!/bin/bash
# Health check of a container: probe.sh PORT PATH ends with 0 when the answer is 200. Bash alone
# takes 6 ms where starting Node takes 200, which two dozen containers on a small machine feel.
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
read -r -t 3 _ status _ <&3
[ "$status" = 200 ]
