# Steps for test.sh: each writes to a log of its own, and whatever fails, the next one runs.
# shellcheck shell=bash
logs=target/test-logs

# step NAME COMMAND...: a failure's log is shown, and what a step says that it left out in any case.
step() {
  local name=$1 log=$logs/$1.log began=$SECONDS status=0
  shift
  "$@" >"$log" 2>&1 </dev/null || status=$?
  local seconds=$((SECONDS - began))
  if [ "$status" = 0 ]; then
    printf 'ok      %-16s %4d s\n' "$name" "$seconds"
    grep -aiE '\bskip(s|ped|ping)?\b|^FLAKY' "$log" | cut -c1-200 | sed 's/^/        | /' || true
  else
    # One write, so that another lane's lines do not come between.
    printf 'FAILED  %-16s %4d s, exit code %d: %s\n%s\n        (the end of %s)\n' \
      "$name" "$seconds" "$status" "$*" "$(tail -n 150 "$log" | sed 's/^/        | /')" "$log"
    echo "$name" >>"$logs/failed"
  fi
}

begin_steps() {
  rm -rf "$logs"
  mkdir -p "$logs"
}

# Says which steps failed, and fails if any did.
end_steps() {
  if [ -e "$logs/failed" ]; then
    printf '\n%d s in all. FAILED: %s\n' "$SECONDS" "$(tr '\n' ' ' <"$logs/failed")"
    return 1
  fi
  printf '\n%d s in all. All passed.\n' "$SECONDS"
}
