"""A batch of steps in, a batch of x out.

By stage: steps | newton, kinks, tops | moves | chunks | modes | draws | inverters; what was tuned is in tuning.
"""
