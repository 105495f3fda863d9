# Made up for tests.
function Get-ExchangeBuildVersionInformation {
    process {
        $cuReleaseDate = [string]::Empty
        if ($isSE) {
            $exchangeMajorVersion = "ExchangeSE"
            switch ($exchangeVersion) {
                { $_ -ge (GetBuildVersion $exSE "RTM") } {
                    $cuLevel = "RTM"
                    $cuReleaseDate = "07/01/2025"
                }
            }
        } else {
            $exchangeMajorVersion = "Exchange2019"
            switch ($exchangeVersion) {
                { $_ -ge (GetBuildVersion $ex19 "CU16") } {
                    $cuLevel = "CU16"
                    $cuReleaseDate = "10/20/2026"
                }
                { $_ -lt (GetBuildVersion $ex19 "CU16") } {
                    $cuLevel = "CU15"
                    $cuReleaseDate = "02/10/2025"
                    $orgValue = 16763
                }
            }
        }
    }
}

function GetExchangeBuildDictionary {

    function NewCUAndSUObject {
        return @{
            "CU" = $CUBuildNumber
        }
    }

    @{
        "Exchange2019" = @{
            "CU15" = (NewCUAndSUObject "15.2.1748.10" @{
                    "Feb26SU"   = "15.2.1748.43"
                    "Sep26SU"   = "15.2.1748.52" # another number than the tables have
                    "Sep26SUv2" = "15.2.1748.53"
                    "Oct26SU"   = "15.2.1748.60"
                })
            "CU16" = (NewCUAndSUObject "15.2.1900.4" @{
                    "Oct26SU" = "15.2.1900.4"
                })
        }
        "ExchangeSE"   = @{
            "RTM" = (NewCUAndSUObject "15.2.2562.17" @{
                    "Feb26SU"   = "15.2.2562.37"
                    "Sep26SU"   = "15.2.2562.49"
                    "Sep26SUv2" = "15.2.2562.53"
                    "Oct26SU"   = "15.2.2562.60"
                })
        }
    }
}
