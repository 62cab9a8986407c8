#!/bin/sh
# embed.sh HEADER FILE.lua ...: write the files as C strings, one for each,
# named ngx_workflow_script_NAME.  A line "-- include NAME" stands for the file
# include/NAME.lua beside it; comments and empty lines are left out.

set -eu

header=$1
shift

{
    echo "/* Made by embed.sh from src/queue/scripts. */"

    for file; do
        name=$(basename "$file" .lua)

        printf '\nstatic const char  ngx_workflow_script_%s[] =\n' "$name"

        while IFS= read -r line; do
            case $line in
                "-- include "*)
                    cat "$(dirname "$file")/include/${line#-- include }.lua" ;;
                *)
                    printf '%s\n' "$line" ;;
            esac
        done < "$file" \
            | sed -e '/^ *--/d' -e '/^ *$/d' \
                  -e 's/[\\"]/\\&/g' -e 's/^/    "/' -e 's/$/\\n"/'

        echo "    ;"
    done
} > "$header.tmp"

mv -f "$header.tmp" "$header"
