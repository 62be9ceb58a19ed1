"""Admission control with a known optimum: the calibration task of every learner.

Ten servers, four priorities, one decision a step: accept the customer at the head or turn it away. `exact` computes
the optimum and the value of any policy to twelve digits, so that a learner's distance from the best is a number and
not an impression.
"""
