"""Looking at signing: stills and animations (`draw`), the HTML player (`player`) and report pages (`report`)."""
