"""The page a person opens: `data/report/index.html`, one file that needs nothing else, and its figures as SVG files.

`evidence` reads what the stages before left, `figures/` draws it, `sections/` words it, `page` puts it together and
`build.build_report` writes it once. The page states verdicts as `data/fit/findings.json` has them, also those that
speak against the published study; nothing here judges anew.
"""
