"""How good guidance is: measures, what it is judged by, and the reports that say so.

`measures` scores single maps, `references` is what they are matched with (true boxes, another table), `run` audits a
table, `vidreason.reporting.bootstrap` gives the intervals, and `audit_folder` writes the whole report that
`datasets_scripts/audit_guidance.py` makes (`report` its tables; `drawing`, `pictures` and `page` what one looks at).
"""
