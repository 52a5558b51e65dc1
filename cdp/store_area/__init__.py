"""The store area: light pages for whoever runs a store, on a tablet or a phone. Each page is one store's."""
