"""The third plan: motion that the host's one picture cannot show (``PREREGISTRATION_MOTION.md``).

python -m experiments.miniature motion run quick
"""
