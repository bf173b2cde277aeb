"""Which addresses a container gets: decided from what it wishes and what others have."""

from collections.abc import Collection

from msgspec.structs import replace

from berth.host import Lease
from berth.network import addresses
from berth.network.model import Wish
from berth.network.records import Book


def lease_for(wish: Wish, subnet: str, book: Book, in_use: Collection[str], *, ipv6: bool) -> tuple[Lease, Book]:
    """Return what container `wish.name` will have in `subnet`, and the book in which that is written.

    `in_use` are addresses that others have at this moment; what they had once is kept for them while there is room.
    Raises BerthError.
    """
    book = book_of(subnet, book)
    address = _address(wish, subnet, book, in_use)
    prefix6 = addresses.prefix6_of(subnet) if ipv6 else ""
    lease = Lease(
        address=address,
        subnet=subnet,
        gateway=addresses.gateway_of(subnet),
        mac=addresses.mac_of(wish.name),
        address6=addresses.address6_of(prefix6, address) if prefix6 else "",
        gateway6=f"{prefix6}1" if prefix6 else "",
    )
    return lease, replace(book, addresses={**book.addresses, wish.name: address})


def book_of(subnet: str, book: Book) -> Book:
    """Return `book` for containers that live in `subnet`; addresses in another one are forgotten."""
    return book if book.subnet == subnet else Book(subnet, abilities=book.abilities)


def _address(wish: Wish, subnet: str, book: Book, in_use: Collection[str]) -> str:
    if wish.ip is not None:
        return addresses.checked_address(wish.name, wish.ip, subnet, in_use)
    known = book.addresses.get(wish.name)
    if known is not None and known not in in_use:
        return known
    taken = {address for name, address in book.addresses.items() if name != wish.name}
    return addresses.address_of(wish.name, subnet, taken.union(in_use))
