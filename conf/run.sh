#!/bin/bash
# run.sh start BUILD NGINX: the quick start.  A private Redis and nginx with
# conf/quickstart.conf, both in BUILD/run, and one task to see them work.
# run.sh stop BUILD: end the two again.

set -euo pipefail
cd "$(dirname "$0")/.."

command=$1
mkdir -p "$2/run"
run=$(realpath "$2/run")

http=127.0.0.1:8002
redis_port=6399

fail() {
    echo "run.sh: $*" >&2
    exit 1
}


# End the process in a pid file, if it is one of ours: the working directory of
# both is below $run.

stop() {
    local name=$1 file=$2 pid cwd

    pid=$(cat "$file" 2>/dev/null) && [ -n "$pid" ] || return 0

    if [ -e "/proc/$pid" ]; then
        cwd=$(readlink "/proc/$pid/cwd") \
            || fail "process $pid, perhaps our $name, is another user's: try" \
                    "again as root or by sudo"
    else
        cwd=
    fi

    case $cwd in
        "$run"|"$run"/*) ;;
        *) rm -f "$file"
           return 0 ;;
    esac

    kill "$pid" || fail "cannot end $name, process $pid"

    for _ in {1..100}; do
        if ! [ -e "/proc/$pid" ]; then
            echo "stopped $name"
            rm -f "$file"
            return 0
        fi
        sleep 0.1
    done

    fail "$name, process $pid, does not end; its log is in $run/logs"
}

stop_all() {
    stop nginx "$run/nginx.pid"
    stop Redis "$run/redis/redis.pid"
}

free_port() {
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
        fail "port $1 of 127.0.0.1, for $2, is taken: end what listens there" \
             "(ss -ltnp 'sport = :$1' names it) and try again"
    fi
}

# Replaced by rename: the files may be mapped.
put() {
    cp "$1" "$2.new"
    mv -f "$2.new" "$2"
}

start_redis() {
    free_port $redis_port Redis
    mkdir -p "$run/redis"

    (cd "$run/redis" && redis-server \
        --bind 127.0.0.1 --port $redis_port --daemonize yes \
        --dir "$run/redis" --pidfile "$run/redis/redis.pid" \
        --logfile "$run/logs/redis.log" \
        --appendonly yes --save '' --maxmemory-policy noeviction) >/dev/null \
        || fail "Redis does not start; see $run/logs/redis.log"

    for _ in {1..100}; do
        [ "$(redis-cli -p $redis_port ping 2>/dev/null)" != PONG ] || return 0
        sleep 0.1
    done

    fail "Redis does not answer; see $run/logs/redis.log"
}

start_nginx() {
    local user=() file

    free_port ${http#*:} nginx

    put conf/quickstart.conf "$run/nginx.conf"
    put "$build/ngx_http_workflow_module.so" \
        "$run/modules/ngx_http_workflow_module.so"
    for file in "$build"/workflows/*.so; do
        put "$file" "$run/workflows/${file##*/}"
    done

    # Workers run as whom this folder belongs to: nobody may not read it.
    if [ "$(id -u)" -eq 0 ]; then
        user=(-g "user $(stat -c '%U %G' .);")
    fi

    (cd "$run" && "$nginx" -p "$run" -c "$run/nginx.conf" \
         -e "$run/logs/error.log" ${user[@]+"${user[@]}"}) \
        || fail "nginx does not start; see above and $run/logs/error.log"
}


# One task, followed on the channel where a control plane would listen.

show_task() {
    local task events="$run/events" code event result

    task=quickstart-$$-$(date +%s)

    : > "$events"
    redis-cli -p $redis_port subscribe llama_deploy.control_plane \
        >> "$events" 2>&1 &
    subscriber=$!
    trap 'kill $subscriber 2>/dev/null || true' EXIT

    for _ in {1..50}; do
        ! grep -q subscribe "$events" || break
        sleep 0.1
    done

    echo
    echo "Submitting one task to the service progress: {\"arg1\": \"hello\"}"

    code=$(curl -sS -o "$run/answer" -w '%{http_code}' \
        -H 'Content-Type: application/json' -d @- \
        "http://$http/progress/process_message" <<JSON
{"action": "new_task", "type": "progress",
 "data": {"task_id": "$task", "input": "{\"arg1\": \"hello\"}"}}
JSON
    ) || fail "nginx does not answer; see $run/logs/error.log"

    [ "$code" = 200 ] \
        || fail "nginx answered $code, $(cat "$run/answer");" \
                "see $run/logs/error.log"

    event='s/.*"session_id": [^,]*, "data": \(.*\), "index": \([0-9]*\)}, '
    event+='"action": "task_stream".*/  event \2   \1/p'
    result='s/.*"result": \(".*"\), "data": {.*}}, '
    result+='"action": "completed_task".*/  result    \1/p'

    # Lines come as they are published; the last one is the result.
    if ! timeout 10 tail -n +1 -f --pid=$subscriber "$events" \
        | stdbuf -oL grep -F "\"task_id\": \"$task\"" \
        | stdbuf -oL sed -n -e "$event" -e "$result" \
        | { while IFS= read -r line; do
                printf '%s\n' "$line"
                case $line in
                    "  result "*) kill $subscriber; exit 0 ;;
                esac
            done
            exit 1
          }
    then
        fail "no result within 10 seconds; see $run/logs/error.log"
    fi
}

case $command in
    stop)
        stop_all
        ;;

    start)
        build=$2
        nginx=$3
        mkdir -p "$run"/{logs,modules,workflows,temp}

        stop_all
        start_redis
        start_nginx

        echo "nginx serves workflows on http://$http, with Redis on port" \
             "$redis_port; files are in $run"

        show_task

        cat <<TEXT

Try next, with what is published shown in another terminal by
    redis-cli -p $redis_port subscribe llama_deploy.control_plane

  what a service says about itself
    curl http://$http/echo/

  counts in its session: gives 1, and 2 with another task_id
    curl http://$http/counter/process_message --json '{"action": "new_task",
      "data": {"task_id": "c1", "session_id": "s", "input": "{}"}}'

  asks, and goes on when it is answered
    curl http://$http/ask/process_message --json '{"action": "new_task",
      "data": {"task_id": "a1", "input": "{}"}}'
    curl http://$http/ask/process_message --json '{"action": "send_event",
      "data": {"task_id": "a1", "input": "{\"__is_pydantic\": true, '\\
'\"value\": {\"response\": \"42\"}, \"qualified_name\": '\\
'\"llama_index.core.workflow.events.HumanResponseEvent\"}"}}'

make stop ends both.
TEXT
        ;;

    *)
        fail "start or stop"
        ;;
esac
