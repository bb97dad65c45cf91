from hypothesis import settings

# A deadline per example measures how busy the machine is; pytest-timeout guards against real hangs.
settings.register_profile("geounet", deadline=None)
settings.load_profile("geounet")
