"""What several test folders share: archives made in memory, and deposits into them."""
