#!/bin/sh
# What a pull request would do, as a comment: written to plan.md. Exit code 0: there is a plan, whether anything changes or not.
#
#   BASE      the revision that the change is held against, such as origin/main
#   HEAD_REV  the revision of the change                                             [HEAD]
#   POLICIES  the directory with policies and Moves                                  [.]
#   PROFILE   the timing profile of the installation                                 [wan]
#   KUBECONFIG, CONTEXTS  a kubeconfig with read-only rights, and the contexts to ask: one more part for each of them
#   BASCULE   how bascule is called
set -eu

: "${BASE:?the revision that the change is held against, such as origin/main}"
HEAD_REV=${HEAD_REV:-HEAD}
POLICIES=${POLICIES:-.}
PROFILE=${PROFILE:-wan}
BASCULE=${BASCULE:-bascule}

# 2 says that something changes; anything else but 0 is no plan.
plan() {
    code=0
    $BASCULE plan "$POLICIES" --profile "$PROFILE" -o markdown "$@" >>plan.md || code=$?
    case $code in
    0 | 2) ;;
    *)
        echo "There is no plan: the job's log says why (exit code $code)." >>plan.md
        exit "$code"
        ;;
    esac
}

: >plan.md
plan --git "$BASE..$HEAD_REV"
for context in ${CONTEXTS:-}; do
    printf '\n---\n\n**As things stand now at `%s`:**\n\n' "$context" >>plan.md
    plan --against live --context "$context"
done
cat plan.md
