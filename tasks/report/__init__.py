"""The page a person opens: `data/report/index.html`, one file that needs nothing else, and its figures as SVG files.

`inputs` reads what the stages before left, each module of `sections/` draws and words one section, `page` puts them
together and `build.build_report` writes it once. The page states verdicts as `data/fit/findings.json` has them, also
those that speak against the published study; nothing here judges anew.
"""
