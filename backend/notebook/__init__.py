"""What a notebook, or any few lines of Python, asks and gets: functions that ask, results that show themselves."""
