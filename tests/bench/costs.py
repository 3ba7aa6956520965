def measure(postgres, options): pass
