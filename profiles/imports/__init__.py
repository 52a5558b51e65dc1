"""Files of customers come in here: detected, mapped to our fields, read line by line and handed to the intake."""
