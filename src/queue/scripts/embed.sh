#!/bin/sh
# embed.sh HEADER FILE.lua ...: write the files as C strings, one for each,
# named ngx_workflow_script_NAME.

set -eu

header=$1
shift

{
    echo "/* Made by embed.sh from src/queue/scripts. */"

    for file; do
        name=$(basename "$file" .lua)

        printf '\nstatic const char  ngx_workflow_script_%s[] =\n' "$name"
        sed -e 's/[\\"]/\\&/g' -e 's/^/    "/' -e 's/$/\\n"/' "$file"
        echo "    ;"
    done
} > "$header.tmp"

mv -f "$header.tmp" "$header"
