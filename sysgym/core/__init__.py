"""The ground floor: what every room needs and none owns.

Errors, seeding, protocols, engines, the event log and safe file writing. Nothing here imports more than numpy and
the standard library, so `import sysgym` stays light.
"""
