"""Schedules with several resources that are rewritten as a whole: NeuRewriter's job scheduling.

`model` says what an instance, a setting and a state are; `schedule` is the readable truth of placing and moving jobs,
`dynamics` its compiled copy over packed rows. `construction` names the list schedules, `search`, `exact` and
`programme` improve on them, and `solve` is one door to all of them. The environment has the files that every problem
has: `simulator`, `kernel`, `observation`, `policies`, `rewards`, `metrics`, `engine`.
"""
