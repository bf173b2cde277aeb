// What the phone is fed by, for Linux' own drivers of ACPI: a battery, a charger, a place that gets warm.
// The charger is plugged in by switching on a fan that there is not: the only thing here that anybody can switch.
DefinitionBlock ("", "SSDT", 2, "BERTH", "PHONE", 1)
{
    Scope (\_SB)
    {
        Name (PLUG, Zero)

        Device (BATT)
        {
            Name (_HID, EisaId ("PNP0C0A"))
            Name (_STA, 0x1F)
            Name (_PCL, Package () { \_SB })
            // In mAh and mV: charge by design and when full, technology, voltage, warnings, steps, what it is called.
            Name (_BIF, Package () { 1, 4000, 3800, 1, 3850, 400, 100, 10, 10, "bench", "1", "LION", "Berth" })
            Method (_BST)
            {
                If (PLUG) { Return (Package () { 2, 500, 2280, 3900 }) }
                Return (Package () { 1, 300, 2280, 3700 })
            }
        }

        Device (CHRG)
        {
            Name (_HID, "ACPI0003")
            Name (_STA, 0x0F)
            Name (_PCL, Package () { \_SB })
            Method (_PSR) { Return (PLUG) }
        }

        PowerResource (SWCH, 0, 0)
        {
            Method (_STA) { Return (PLUG) }
            Method (_ON) { Store (One, PLUG) Notify (CHRG, 0x80) Notify (BATT, 0x80) }
            Method (_OFF) { Store (Zero, PLUG) Notify (CHRG, 0x80) Notify (BATT, 0x80) }
        }

        Device (FAN0)
        {
            Name (_HID, EisaId ("PNP0C0B"))
            Name (_PR0, Package () { SWCH })
        }
    }

    ThermalZone (\_TZ.SKIN)
    {
        Name (_TMP, 3097) // tenths of a kelvin: 36.5 degrees Celsius
        Name (_CRT, 3732)
    }
}
