"""A second grader for audits: reads answers with a small grammar of its own and compares exact or numeric values.

It shares no parser with math-verify or with `scorers`: `final_answer` finds what a completion answers, `tokens` and
`reader` turn it into the tree of `nodes`, `values` evaluates, `compare` decides. What it does not read whole it does
not judge: its opinion is then "cannot tell". Its verdicts are listed by an audit and never become rewards.
"""
