"""What happens on the way: scripted events, the ego's expert, and the schedule that draws them."""
