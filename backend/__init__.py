"""Headroom's backend: models, tasks, measurements, results. Nothing here knows Streamlit."""
